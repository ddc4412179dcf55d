"""Values and codecs: what travels, without any I/O."""
