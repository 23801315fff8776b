"""The page at `/`: how connections, batches and jobs are, for a person with a browser.

Read `routes.py` first: it lists the paths. It asks what the API asks, as the same callers with the same tokens, and
shows it as HTML that needs no JavaScript; with it, htmx keeps the page live. See docs/http.md and decision 18.

    session.py      who has logged in          throttle.py     how often one may try
    forms.py        what is taken of a form    page_route.py   what stands around every answer
    connection_view.py, batch_view.py, batch_pace.py   what is shown, made ready
    charts.py       figures as SVG             rendering.py    templates, and words for numbers
    templates/, static/                        static_files.py the files that a browser fetches
"""
