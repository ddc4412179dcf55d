"""The ledger's turns as rows for trainers, without a trainer or an array library."""
