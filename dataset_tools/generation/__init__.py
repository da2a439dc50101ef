"""A language model writes profiles and intents: from a data set to a store of answers.

    inputs.py    what is known about items and users: features, training interactions, training reviews
    prompts.py   the prompt files, and how a prompt is written and cut to the model's context
    schema.py    what an answer holds, and how it is read and turned into texts
    completion.py what a server sends, whatever server it is
    dialect.py   what a server takes of a request, and how that is found out
    chat.py      asks a model for one answer: validates it, asks again
    budget.py    prices, and limits on cost and requests
    store.py     answers on disk, each there the moment it arrives
    run.py       many prompts at once, with a progress bar, until done or stopped
    batch.py     the same through OpenAI's Batch API

`recbole_irllrec.dataset_tools.generate` puts them together.
"""
