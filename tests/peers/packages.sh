#!/usr/bin/env bash
# Packages of every architecture, design and kind of recipe.
#
#   tests/peers/packages.sh [--short] FOLDER     writes FOLDER/<model>-<recipe>-<design>/*.mlpackage
#
# The short form writes one package of each kind of recipe, and those of one mixture.
set -euo pipefail
cd "$(dirname "$0")/../.."

short=
if [[ $1 == --short ]]; then
    short=1
    shift
fi
out=$1
mkdir -p "$out"
evalkit=${CARGO_TARGET_DIR:-target}/release/evalkit
mixtures=tests/golden/mixtures
models=(demo "$mixtures/gpt-oss-4" "$mixtures/gpt-oss-mxfp4-4" "$mixtures/qwen3-moe-4")
for family in llama qwen2 qwen3; do
    folder=../shared/models/golden/$family
    if [[ -e $folder ]]; then
        models+=("$folder")
    elif [[ -z $short ]]; then
        echo "skipped: packages of $family: there is no $folder"
    fi
done

package() { # model, recipe, name of the design, its flags
    "$evalkit" --quiet package --model "$1" --recipe "$2" --max-sequence-length 64 \
        --prefill-length 8 --output "$out/$(basename "$1")-$2-$3" "${@:4}" >/dev/null
}

cargo build --quiet --release
if [[ -n $short ]]; then
    package demo fp16 gpu --compute gpu
    package demo palette2-g16-s ane --compute ane
    package demo int4-b32 gpu --compute gpu
    package demo vector1-d4-g16 ane --compute ane
    package demo palette3-c chunks --chunk-size 100kB
    package demo palette4-s ios17 --target ios17
    package demo int8 ios17 --target ios17
    package demo palette4-g16-s inputs --compute ane --cache inputs
    package "$mixtures/gpt-oss-mxfp4-4" mxfp4 gpu
    exit 0
fi
for model in "${models[@]}"; do
    for recipe in fp16 palette1-g16-s palette2-g16-s palette4 int4-b32 int8-a vector2-d4 vector1-d4-g16; do
        package "$model" "$recipe" gpu --compute gpu
        [[ $recipe == int4-b32 ]] || package "$model" "$recipe" ane --compute ane
    done
    package "$model" palette4-g16-s gpu-inputs --cache inputs
    package "$model" int8 ane-inputs --compute ane --cache inputs
    package "$model" mxfp4 gpu
    package "$model" palette3-c chunks --chunk-size 100kB
    case $model in
        "$mixtures"/*) ;; # experts need packages with several functions
        *) for recipe in fp16 palette4-s int8; do package "$model" "$recipe" ios17 --target ios17; done ;;
    esac
done
