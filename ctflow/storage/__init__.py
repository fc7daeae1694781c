"""Files and folders that stay intact if the process is killed. Nothing here depends on the physics."""
