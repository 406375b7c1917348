# Repairs the checkpoints of a training that was cut short; needs a function `say`.

# With the plugin, fairseq gives a checkpoint its name when it is whole. Where the machine itself went
# down checkpoint_last.pt may be torn all the same, and the newest of the others is to be taken.
keep_whole_checkpoint() {
    local folder=$1 earlier
    local last=$folder/checkpoint_last.pt
    rm -f "$folder"/*.pt.tmp
    if [ ! -e "$last" ] || python -m zipfile --test "$last" >/dev/null 2>&1; then return; fi
    say "$last was cut short: going back to the one before"
    rm "$last"
    while IFS= read -r earlier; do
        if python -m zipfile --test "$earlier" >/dev/null 2>&1; then
            cp "$earlier" "$last.tmp"
            mv "$last.tmp" "$last"
            return
        fi
    done < <(ls -t "$folder"/checkpoint*.pt 2>/dev/null)
}
