# shellcheck shell=bash
# The memory of a training on a CPU.

# glibc hands each large block back to the kernel after its use, in every update, and takes it
# again page by page. This has a process keep them until it ends: a third fewer page faults
# (benchmarks/README.md). What the user has set stays.
keep_memory() {
    export MALLOC_MMAP_MAX_=${MALLOC_MMAP_MAX_-0}
    export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_-8589934592} # 8 GiB
}
