"""What users do on a site, sent and read (workshop 002)."""
