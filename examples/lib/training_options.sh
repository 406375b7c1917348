# shellcheck shell=bash
# The --help of train.sh, and the options that it has in every task.

usage() {
    cat <<END
Usage: bash examples/$(basename "$task_dir")/train.sh $benchmark [OPTIONS] [-- ARGUMENTS OF fairseq-train]

Trains with R-Drop on what prepare.sh made; an interrupted training continues.
The benchmarks are ${benchmarks// /, }.

$(describe_options)
END
    [ -z "${max_tokens-}" ] || echo "
An update is made of $max_tokens tokens x $update_freq, however many processes share them.
(After --, --max-tokens and --update-freq are those of each process.)"
}

training_options() {
    option seed N 1 "random seed"
    option max_updates N "${max_updates-}" "how many updates to train for"
    option precision 'fp16|bf16|fp32' '' "precision of the computation (fp16 on a GPU, else fp32)"
    flag cpu "train on the CPU, even where there is a GPU"
    option processes N '' \
        "processes on this machine, one for each GPU (as many GPUs as can share an update)"
    option name RUN '' \
        "name of the run's folder${rdrop_alpha:+ (rdrop-alpha$rdrop_alpha-seed1, baseline-seed1, ...)}"
    option out DIR "$repo/runs/$benchmark" "the folder that prepare.sh made"
    pass_on extra
}
