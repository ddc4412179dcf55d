"""The benchmark: CPU time per streamed token, against a relay of the same bytes on the same server stack."""
