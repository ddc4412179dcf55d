"""What a request points at: files, addresses and PDF pages, resolved before the request is translated."""
