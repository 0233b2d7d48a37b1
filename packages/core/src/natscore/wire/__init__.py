"""What the protocol looks like as bytes: lines, headers, the INFO and CONNECT documents."""
