# shellcheck shell=bash
# The options of a program: declared one a line, then read from its arguments.
#
#   option seed N 1 "random seed"              --seed N sets $seed, which is 1 without it
#   flag cpu "train on the CPU"                --cpu sets $cpu to yes, which is empty without it
#   argument run                               the next word that is not an option sets $run
#   pass_on extra                              the words after -- become the array $extra
#   parse_options "$@"
#
# The METAVAR, which stands for the value in --help (N above), says which values are right: N a whole
# number above 0, X a number, RUN the name of a folder, SET that of a set, test|valid one of these words, any
# other name any text. The program defines `refuse`, and `usage`, which prints $(describe_options). What a user types is
# stored, and never evaluated.

declare -A option_values=() # of each option its METAVAR, which is empty for a flag
option_help=()              # of each option two items: the option with its METAVAR, and its help
option_arguments=()         # the variables of the words that are not options
option_rest=''              # the variable of the words after --

option() {
    declare -g "$1=$3"
    remember_option "--${1//_/-}" "$2" "$4${3:+ ($3)}"
}

flag() {
    declare -g "$1="
    remember_option "--${1//_/-}" '' "$2"
}

remember_option() {
    option_values[$1]=$2
    option_help+=("$1${2:+ $2}" "$3")
}

argument() {
    declare -g "$1="
    option_arguments+=("$1")
}

pass_on() {
    declare -ga "$1=()"
    option_rest=$1
}

parse_options() {
    while [ $# -gt 0 ]; do
        case $1 in
            --help | -h) usage; exit ;;
            --)
                [ -n "$option_rest" ] || refuse "unknown option --"
                local -n words_after=$option_rest
                words_after=("${@:2}")
                return
                ;;
            -*) set_option "$@"; [ -z "${option_values[$1]}" ] || shift ;;
            *) set_argument "$1" ;;
        esac
        shift
    done
}

# set_option OPTION [VALUE]...
set_option() {
    [ "${option_values[$1]-unknown}" != unknown ] || refuse "unknown option $1"
    local value=yes variable=${1#--}
    if [ -n "${option_values[$1]}" ]; then
        [ $# -ge 2 ] || refuse "$1 needs a value"
        check_value "$1" "${option_values[$1]}" "$2"
        value=$2
    fi
    declare -g "${variable//-/_}=$value"
}

set_argument() {
    [ ${#option_arguments[@]} -gt 0 ] || refuse "unexpected argument '$1'"
    declare -g "${option_arguments[0]}=$1"
    option_arguments=("${option_arguments[@]:1}")
}

# check_value NAME METAVAR VALUE
check_value() {
    case $2 in
        N) [[ $3 =~ ^[1-9][0-9]*$ ]] || refuse "$1 must be a whole number above 0, not '$3'" ;;
        X)
            [[ $3 =~ ^-?([0-9]+\.?[0-9]*|\.[0-9]+)(e-?[0-9]+)?$ ]] ||
                refuse "$1 must be a number, not '$3'"
            ;;
        RUN | SET)
            local thing=folder
            [ "$2" = RUN ] || thing=set
            [[ $3 =~ ^[^-./:][^/:]*$ ]] ||
                refuse "$1 is the name of a $thing, without / and : and not beginning with - or .," \
                    "not '$3'"
            ;;
        *\|*)
            local listed=${2//|/, }
            [[ $3 != *\|* && "|$2|" = *"|$3|"* ]] ||
                refuse "$1 is ${listed%, *} or ${listed##*, }, not '$3'"
            ;;
    esac
}

# A line for each option; its help stands below it where it is long.
describe_options() {
    local width=20
    set -- "${option_help[@]}" --help "this text"
    while [ $# -gt 0 ]; do
        if [ ${#1} -le $width ]; then
            printf "  %-${width}s  %s\n" "$1" "$2"
        else
            printf "  %s\n  %${width}s  %s\n" "$1" '' "$2"
        fi
        shift 2
    done
}
