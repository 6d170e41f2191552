"""The bundle `index`: a folder of static files that pip installs plugins from, signed by TUF."""
