"""Commands that make, build, test and add plugins, with the templates of each language."""
