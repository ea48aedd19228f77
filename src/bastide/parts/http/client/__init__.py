"""client: asks other HTTP servers, over connections that are kept."""
