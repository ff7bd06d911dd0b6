"""A vLLM server as seen from outside, for machines with no GPU; it imports nothing of AdaSplit."""
