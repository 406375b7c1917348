# shellcheck shell=bash
# The published files of a benchmark, which nothing here downloads. Of its settings.sh:
#
#   published         array of their names; empty where pip can fetch the text
#   source_of_files   where to get them

need_published() {
    local file
    for file in "${published[@]}"; do
        [ -n "$orig" ] && [ -e "$orig/$file" ] ||
            die "$benchmark is made of published files ($source_of_files): give --orig the folder" \
                "that has ${published[*]}"
    done
}
