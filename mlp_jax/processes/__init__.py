"""Several processes that run one program: how they are started, how they meet, and what they agree on."""
