"""Tests of the ledger's rows for trainers."""
