"""What breaks a running design on purpose: its processes, its servers, and the links between them."""
