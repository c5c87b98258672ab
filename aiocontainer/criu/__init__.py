"""CRIU: saves the processes of a container into images, and makes processes of images.

Spoken to over its service protocol, ``criu swrk``; nothing of this is imported before it is needed.
"""
