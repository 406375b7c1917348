# shellcheck shell=bash
# A run and its checkpoints, which may have been cut short.

# $run must be named, and be a run in $out.
need_run() {
    [ -n "$run" ] || refuse "name the RUN to evaluate"
    [ -d "$out/$run" ] || die "there is no run $out/$run: train it with train.sh, or give --out"
}

# need_checkpoint FILE [WHAT TO DO]: FILE must be there and whole.
need_checkpoint() {
    [ -e "$1" ] || die "there is no $1: has the training come to its first validation?"
    is_whole "$1" || die "$1 is cut short or damaged: ${2-continue its training with train.sh}"
}

# Whether a checkpoint is there to its end, and each byte as it was written. A file that cannot be read is
# neither whole nor damaged.
is_whole() {
    local status=0
    python -c '
import sys, zipfile
try:
    damaged = zipfile.ZipFile(sys.argv[1]).testzip() is not None
except OSError as error:
    sys.exit(str(error))
except Exception:
    damaged = True
sys.exit(3 if damaged else 0)' "$1" || status=$?
    case $status in
        0) return 0 ;;
        3) return 1 ;;
        *) die "$1 could not be checked; the line above says why" ;;
    esac
}

# Whether a training has made a checkpoint in FOLDER.
has_checkpoint() {
    local made
    for made in "$1"/checkpoint*.pt; do
        [ ! -e "$made" ] || return 0
    done
    return 1
}

# With the plugin, fairseq gives a checkpoint its name when it is whole. Where the machine itself went
# down checkpoint_last.pt may be torn all the same, and the newest of the others is to be taken.
keep_whole_checkpoint() {
    local folder=$1 earlier
    local last=$folder/checkpoint_last.pt
    rm -f "$folder"/*.pt.tmp
    if [ ! -e "$last" ] || is_whole "$last"; then return; fi
    say "$last was cut short: going back to the one before"
    rm "$last"
    while IFS= read -r earlier; do
        if is_whole "$earlier"; then
            cp "$earlier" "$last.tmp"
            mv "$last.tmp" "$last"
            return
        fi
    # not the averages of evaluate.sh, which have no optimizer
    done < <(ls -t "$folder"/checkpoint{[0-9]*,_[0-9]*,_best}.pt 2>/dev/null)
}
