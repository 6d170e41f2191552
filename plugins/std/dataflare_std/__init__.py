"""Files, SQL, generators and everyday processors."""
