"""A simulator of many agent sessions over many engines: what a way of placing calls does to prefix caches."""
