"""The broker: what stands behind the wire door and the embedded backends."""
