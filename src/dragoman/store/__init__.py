"""The embedded store: one SQLite database and a folder, under files, batches and threads."""
