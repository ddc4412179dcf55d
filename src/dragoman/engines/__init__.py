"""Engines: each speaks the neutral chat form upward and its server's dialect downward."""
