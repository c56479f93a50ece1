"""The demo's pipeline: four real `PipelineTask` classes that need nothing but numpy, astropy tables
and sep.
"""
