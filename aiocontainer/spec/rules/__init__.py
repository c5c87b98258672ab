"""What a document can say and must not, one subject per module: generators of problems.

Types, ranges and enumerations are not told here again; decoding has refused those.
"""
