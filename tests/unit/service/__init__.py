"""Tests of the service and what it needs beside it."""
