# shellcheck shell=bash
# The published files of a benchmark, which nothing here downloads. Of its settings.sh:
#
#   published         array of their names; empty where pip can fetch the text
#   source_of_files   where to get them

need_published() {
    local file
    for file in "${published[@]}"; do
        [ -n "$orig" ] && [ -e "$orig/$file" ] ||
            die "there is no ${orig:-DIR}/$file: give --orig the folder with the published files" \
                "${published[*]} ($source_of_files)"
    done
}
