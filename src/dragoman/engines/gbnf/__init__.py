"""What llama.cpp's grammars can hold an answer to, and schemas in that form."""
