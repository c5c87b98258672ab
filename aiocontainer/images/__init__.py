"""Images on disk into layers for overlayfs: OCI layouts and archives by docker save, without other tools."""
