"""Small edits of a TFLite model."""

from edgecnn.contract import INPUT_NAME, OUTPUT_NAME
from edgecnn.errors import ExportError
from edgecnn.formats import _tflite_tree


def with_edge_names(content: bytes) -> bytes:
    """Return the model with its input tensor called ``image`` and its output ``logits``.

    Raises:
        ExportError: the model has several inputs or outputs.
    """
    model = _tflite_tree.unpack(content)
    graph = model.subgraphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ExportError(
            f"the model has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; a "
            "classifier with one image input and one output of logits can be exported."
        )
    edges = {graph.inputs[0]: INPUT_NAME.encode(), graph.outputs[0]: OUTPUT_NAME.encode()}
    for index, tensor in enumerate(graph.tensors):
        if index in edges:
            tensor.name = edges[index]
        elif tensor.name in edges.values():
            # The quantizer puts a new tensor at the edge and leaves the name inside.
            tensor.name += b"_inside"
    return _tflite_tree.pack(model)
