# shellcheck shell=bash
# The checkpoints of a training that was cut short.

# Whether a checkpoint is there to its end, and each byte as it was written.
is_whole() {
    python -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip())' "$1" 2>/dev/null
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
    done < <(ls -t "$folder"/checkpoint*.pt 2>/dev/null)
}
