# The options that name the data and the reward: `source args.sh`, then "${AUTOIF_ARGS[@]}".
AUTOIF_HOME="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)"
export PYTHONPATH="$AUTOIF_HOME:$PYTHONPATH"
AUTOIF_ARGS=(
   --prompt-data "$AUTOIF_HOME/rl.jsonl"
   --input-key prompt
   --label-key label
   --apply-chat-template
   --custom-rm-path autoif_slime.reward
)
