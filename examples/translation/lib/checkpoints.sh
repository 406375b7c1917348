# Repairs the checkpoints of a training that was killed; needs a function `say`.

# Whether a checkpoint is there to its end, and each byte as it was written.
is_whole() {
    python -c 'import sys, zipfile; sys.exit(zipfile.ZipFile(sys.argv[1]).testzip())' "$1" 2>/dev/null
}

# fairseq writes one checkpoint under a temporary name and then copies it to checkpoint_last.pt:
# when killed in that instant, that copy is torn and the newest of the others is to be taken.
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
