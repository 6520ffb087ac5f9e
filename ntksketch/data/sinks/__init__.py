"""Where features go: one format a file, written block by block and renamed when complete."""
