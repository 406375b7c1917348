# Prepares a benchmark: sourced by its prepare.sh, which sets
#   corpus_settings   arguments of scripts/prepare_corpus.py
#   held_out          how that program is to choose the validation set
#   subword_settings  arguments of scripts/subwords.py that clean what it encodes
#   bpe_size          pieces of sentencepiece or merges of subword-nmt

. "$(dirname "${BASH_SOURCE[0]}")/common.sh"

usage() {
    cat <<EOF
Usage: bash examples/translation/$benchmark/prepare.sh [OPTIONS]

Downloads the corpus, tokenizes it, splits it into subwords and binarizes it. Finished stages are
skipped on a second run.

  --orig DIR      use the archives, or what was unpacked from them, in DIR; downloads nothing
  --subword NAME  sentencepiece, or subword-nmt as in the paper ($subword)
  --bpe-size N    pieces or merges ($bpe_size)
  --workers N     processes; changes no result (all cores)
  --out DIR       where everything goes ($out)
  --help          this text
$(additional_usage)
EOF
}

additional_usage() { :; }
additional_option() { refuse "unknown option $1"; }

prepare() {
    orig='' workers=''
    while [ $# -gt 0 ]; do
        case $1 in
            --orig | --subword | --bpe-size | --workers | --out) needs_value $# "$1" ;;
        esac
        case $1 in
            --orig) orig=$2; shift ;;
            --subword) subword=$2; shift ;;
            --bpe-size) bpe_size=$2; shift ;;
            --workers) whole_number "$1" "$2"; workers=$2; shift ;;
            --out) out=$2; shift ;;
            --help | -h) usage; exit ;;
            *) additional_option "$1" ;;
        esac
        shift
    done
    case $subword in
        sentencepiece | subword-nmt) ;;
        *) refuse "--subword is sentencepiece or subword-nmt, not '$subword'" ;;
    esac
    whole_number --bpe-size "$bpe_size"
    read_languages
    workers=${workers:-$(python -c 'from rdrop_tools.parallel import CORES; print(CORES)')}
    need_program fairseq-preprocess
    need_corpus_packages
    mkdir -p "$out"

    refuse_other_settings
    get_originals
    there "$out/corpus" || make_corpus
    there "$out/subwords" || split_into_subwords
    there "$out/binarized" || binarize
    say "prepared: $out/binarized, made as $out/manifest.json says"
}

need_corpus_packages() {
    python -c 'import sacremoses, subword_nmt, tqdm' 2>/dev/null ||
        die "sacremoses, subword-nmt or tqdm is not installed here:" \
            "run pip install '$repo[corpus]', or bash $repo/scripts/install.sh"
}

# A finished stage is skipped, so it must have been made as it would be made now.
refuse_other_settings() {
    [ -e "$out/corpus" ] || [ -e "$out/subwords" ] || [ -e "$out/binarized" ] || rm -f "$out/settings"
    keep_settings "$out/settings" \
        "$subword $bpe_size ${corpus_settings[*]} ${held_out[*]} ${subword_settings[*]}" \
        "remove corpus, subwords and binarized there, or name another place with --out"
}

get_originals() {
    if [ -n "$orig" ]; then
        [ -d "$orig" ] || die "there is no folder $orig: give --orig the folder of the archives"
        return
    fi
    orig=$out/orig
    [ -e "$out/corpus" ] || python "$repo/scripts/download.py" --corpus "$table" --to "$orig"
}

make_corpus() {
    say "tokenizing"
    python "$repo/scripts/prepare_corpus.py" --corpus "$table" --orig "$orig" \
        --out "$out/corpus" "${corpus_settings[@]}" "${held_out[@]}" --workers "$workers"
}

split_into_subwords() {
    say "learning $bpe_size subwords with $subword"
    python "$repo/scripts/subwords.py" --corpus "$out/corpus" --langs "$source" "$target" \
        --method "$subword" --size "$bpe_size" --out "$out/subwords" \
        "${subword_settings[@]}" --workers "$workers"
}

binarize() {
    local subwords=$out/subwords
    say "binarizing"
    rm -rf "$out/binarized.tmp"
    fairseq-preprocess --source-lang "$source" --target-lang "$target" --joined-dictionary \
        --trainpref "$subwords/train" --validpref "$subwords/valid" --testpref "$subwords/test" \
        --destdir "$out/binarized.tmp" --workers "$workers" >"$out/preprocess.log" 2>&1 ||
        die "fairseq-preprocess failed; $out/preprocess.log says why"
    cp "$subwords/manifest.json" "$out/manifest.json.tmp"
    mv "$out/manifest.json.tmp" "$out/manifest.json"
    mv "$out/binarized.tmp" "$out/binarized"
}
