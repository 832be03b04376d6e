"""The study of the FAERec paper: notebooks 30–36."""
