"""What `omnibench doctor` looks at: software, devices, folders, and what runs need from outside."""
