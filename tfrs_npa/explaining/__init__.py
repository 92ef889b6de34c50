"""Why readers are shown what they are shown: as data, a page and a picture."""
