#!/usr/bin/env bash
# From RecBole's ml-100k to an IRLLRec that a language model's texts have gone into. docs/intents.md explains the steps.
#
#   OPENAI_API_KEY=... examples/intents-ml-100k.sh                       # OpenAI: some 2,600 requests, about a dollar
#   OPENAI_BASE_URL=http://localhost:8000/v1 MODEL=qwen3 CONTEXT=32768 EMBEDDER=qwen3-embedding examples/intents-ml-100k.sh
#
# It works in the current folder, goes on where it stopped if it is run again, and hands its own arguments to the
# training, e.g. --epochs=10.
set -euo pipefail
MODEL=${MODEL:-gpt-4o-mini}
EMBEDDER=${EMBEDDER:-text-embedding-3-small}
ask=(ml-100k --data-path dataset --model "$MODEL" --prompts films ${CONTEXT:+--context-length "$CONTEXT"})

# RecBole's files, in a folder of our own: the tables lie beside them, and RecBole's own copy stays as it is.
if [ ! -d dataset/ml-100k ]; then
  mkdir -p dataset
  cp -r "$(python -c 'import recbole, pathlib; print(pathlib.Path(recbole.__file__).parent)')/dataset_example/ml-100k" dataset/
fi

irllrec intents generate "${ask[@]}" --dry-run # what would be asked, and what it would cost
irllrec intents generate "${ask[@]}" --concurrency "${CONCURRENCY:-16}"
irllrec intents show ml-100k 1 --side user --data-path dataset
irllrec intents embed ml-100k --data-path dataset --texts generated --encoder openai --encoder-model "$EMBEDDER"
irllrec intents check ml-100k --data-path dataset

# RecBole takes its own folder for a data set called ml-100k, whatever data_path says; so the tables are named. Of data
# of your own, run_recbole finds them by itself.
tables=()
for table in user_profile item_profile user_intent item_intent; do
  tables+=("--${table}_table=dataset/ml-100k/ml-100k.$table.parquet")
done
run_recbole --model=IRLLRec --dataset=ml-100k "${tables[@]}" "$@"
