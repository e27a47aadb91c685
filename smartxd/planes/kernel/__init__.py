"""Links and addresses by rtnetlink: virtual switches, VTEPs and their addresses."""
