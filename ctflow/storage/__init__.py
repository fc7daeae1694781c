"""Files and folders that survive being killed; nothing here knows any physics."""
