"""The Messages API's values: requests, blocks, answers, events and errors."""
