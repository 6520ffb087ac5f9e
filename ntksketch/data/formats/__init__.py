"""Where rows come from: one format a file, registered in `ntksketch.data.open`."""
