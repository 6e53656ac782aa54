"""What recipients do with a mail: pictures that load, links that are followed, and what may be kept of it."""
