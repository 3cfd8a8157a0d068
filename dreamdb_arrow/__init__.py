"""dreamdb_arrow"""
