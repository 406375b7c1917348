"""Several ranks of one training, on CPUs."""


def rank_options(rank, folder):
    """The flags with which two processes on CPUs find each other (through a file: no port)."""
    return (
        *("--distributed-world-size=2", f"--distributed-rank={rank}", "--distributed-no-spawn"),
        *("--distributed-backend=gloo", f"--distributed-init-method=file://{folder}/rendezvous"),
    )
