"""The report: one HTML file that shows a fusion to a person, and the index of a batch.

contents.py gathers what a page shows, pictures.py reduces and encodes its pictures, plots.py lays out its plots, and
page.py fills the templates. The pages load nothing: style, script and pictures are inside.
"""
