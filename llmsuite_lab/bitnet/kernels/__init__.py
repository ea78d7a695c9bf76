"""Products straight from packed ternary weights: `cpu` (C++, built on first use), `gpu` (Triton), `plain` (torch, anywhere, slower), `choice`."""
