"""Files: JSON lines, CSV and Parquet, read in splits with exact positions and written epoch by epoch."""
